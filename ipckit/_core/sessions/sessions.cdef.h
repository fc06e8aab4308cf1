uint64_t ipk_session_open(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner,
			  const char *ip, size_t ip_size, uint64_t ports);
int ipk_session_close(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner,
		      uint64_t session);
void ipk_session_recover(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner);
int64_t ipk_session_number(const uint64_t *processes, size_t count, size_t stride);
