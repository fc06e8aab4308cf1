typedef int... pid_t;
