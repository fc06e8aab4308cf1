uint64_t ipk_sync_bytes(uint32_t count);
