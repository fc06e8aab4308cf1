int ipk_signal_task_limit(void);
struct ipk_timer {
	int runs;
	...;
};
int ipk_signal_after(struct ipk_timer *timer, int signal_number, int64_t ns);
int ipk_signal_not(struct ipk_timer *timer);
