int64_t ipk_stamp(void);
