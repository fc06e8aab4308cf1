#define IPK_RELAY_NOTHING 0
#define IPK_RELAY_MESSAGE 1
#define IPK_RELAY_EMPTY 2
#define IPK_RELAY_GONE 3

struct ipk_relay {
	...;
};

int ipk_relay_start(struct ipk_relay *relay, int id, long type, int flags, int eventfd);
int ipk_relay_arm(struct ipk_relay *relay);
int ipk_relay_disarm(struct ipk_relay *relay);
int ipk_relay_collect(struct ipk_relay *relay, int64_t *type);
int ipk_relay_close(struct ipk_relay *relay);
