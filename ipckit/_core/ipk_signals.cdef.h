int ipk_signal_task_limit(void);
int ipk_signal_after(void **timer, int signal_number, int64_t ns);
int ipk_signal_not(void *timer);
