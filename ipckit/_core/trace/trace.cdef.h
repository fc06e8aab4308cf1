struct ipk_trace {
	int pid;
	uint64_t returns_to;
	uint64_t stack;
};
int ipk_trace_me(void);
int ipk_trace_begin(struct ipk_trace *trace, int pid);
int ipk_trace_run_to(struct ipk_trace *trace, uint64_t entry);
int ipk_trace_step(struct ipk_trace *trace, uint32_t count);
int ipk_trace_kill(struct ipk_trace *trace);
int ipk_trace_leave_stopped(struct ipk_trace *trace);
int ipk_trace_within(const struct ipk_trace *trace, const uint64_t *ranges, uint32_t range_count,
		     uint32_t count, uint64_t end, int64_t patience_ns, uint32_t *done);
int ipk_trace_let_go(const struct ipk_trace *trace);
void ipk_trace_mark(void);
uint64_t ipk_trace_mark_at(void);
