#define IPK_TASK_FREE 0
#define IPK_TASK_HELD 1
#define IPK_TASK_QUEUED 2
#define IPK_TASK_RUNNING 3
#define IPK_TASK_ORPHANED 4
#define IPK_TASK_MAX_OWNER 4095
#define IPK_TASK_MAX_ATTEMPT 255

int64_t ipk_task_take(uint64_t *words, uint32_t count, uint32_t start, uint64_t task_id,
                      uint32_t owner);
int ipk_task_step(uint64_t *words, uint32_t index, uint64_t task_id, uint32_t from, uint32_t to,
                  uint32_t owner);
int ipk_task_step_of_attempt(uint64_t *words, uint32_t index, uint64_t task_id,
                             uint32_t attempt, uint32_t from, uint32_t to, uint32_t owner);
uint32_t ipk_task_sweep(uint64_t *words, uint32_t count, uint32_t owner, uint32_t from,
                        uint32_t to);
void ipk_task_count(const uint64_t *words, uint32_t count, uint64_t counts[16]);
int64_t ipk_task_find(const uint64_t *words, uint32_t count, uint32_t start, uint32_t state);
void ipk_task_look(const uint64_t *words, uint32_t index, uint64_t *task_id, uint32_t *attempt,
                   uint32_t *owner, uint32_t *state);
