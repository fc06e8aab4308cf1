struct ipk_column {
	uint32_t type;
	uint32_t size;
	uint32_t first;
	uint32_t words;
	uint32_t name_size;
	char name[100];
};
int64_t ipk_table_layout(uint32_t rows, uint32_t key_size, struct ipk_column *columns,
			 uint32_t column_count);
int ipk_table_format(void *base, uint64_t bytes, uint32_t rows, uint32_t key_size,
		     const struct ipk_column *columns, uint32_t column_count,
		     const unsigned char *random);
