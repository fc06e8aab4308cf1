uint64_t ipk_word_load(const uint64_t *word);
void ipk_word_store(uint64_t *word, uint64_t value);
uint64_t ipk_word_swap(uint64_t *word, uint64_t value);
uint64_t ipk_word_add(uint64_t *word, int64_t by);
uint64_t ipk_word_sum(const uint64_t *word, size_t count, size_t stride);
int ipk_word_compare_and_set(uint64_t *word, uint64_t expected, uint64_t value);
