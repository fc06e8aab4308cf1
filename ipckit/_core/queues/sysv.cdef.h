#define IPK_MSGQ_SMALL ...
#define MSG_EXCEPT ...
#define MSG_NOERROR ...

struct ipk_message {
	long type;
	char body[];
};
struct ipk_msgq_stat {
	int64_t key;
	int64_t messages;
	int64_t bytes;
	int64_t max_bytes;
	int64_t mode;
	int64_t uid;
	int64_t gid;
	int64_t last_sender_pid;
	int64_t last_receiver_pid;
	int64_t sent_at;
	int64_t received_at;
	int64_t changed_at;
};

int ipk_msgq_make(int key, int mode);
int ipk_msgq_find(int key);
int ipk_msgq_send_small(int id, long type, const char *body, size_t size);
int ipk_msgq_send(int id, const struct ipk_message *message, size_t size, int64_t timeout_ns);
int64_t ipk_msgq_receive(int id, struct ipk_message *message, size_t size, long type, int flags,
                         int64_t timeout_ns);
int64_t ipk_msgq_copy(int id, struct ipk_message *message, size_t size, long index);
int ipk_msgq_stat(int id, struct ipk_msgq_stat *stat);
int ipk_msgq_set(int id, int64_t mode, int64_t uid, int64_t gid, int64_t max_bytes);
int ipk_msgq_remove(int id);
int64_t ipk_msgq_max_size(void);
