int ipk_die_with_parent(int parent, int64_t grace_ns);
