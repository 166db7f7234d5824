#include "dht/net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

static int parse_unix(const char *path, struct addr *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
	size_t len = strlen(path);

	/* absolute, since a daemon changes its folder */
	if (path[0] != '/' || len >= sizeof(un->sun_path))
		return -EINVAL;
	out->kind = ADDR_UNIX;
	memcpy(out->host, path, len + 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	out->sa_len = sizeof(*un);
	out->numeric = true;
	return 0;
}

static int parse_port(const char *text, struct addr *out)
{
	size_t len = strlen(text);

	if (len < 1 || len > 5 || strspn(text, "0123456789") != len || atoi(text) > UINT16_MAX)
		return -EINVAL;
	memcpy(out->port, text, len + 1);
	return 0;
}

/* Sets sa when the host is a number; a number needs no worker thread. */
static void try_numeric(struct addr *out)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *ai;

	if (getaddrinfo(out->host, out->port, &hints, &ai))
		return;
	memcpy(&out->sa, ai->ai_addr, ai->ai_addrlen);
	out->sa_len = ai->ai_addrlen;
	out->numeric = true;
	freeaddrinfo(ai);
}

static int parse_tcp(const char *text, struct addr *out)
{
	const char *host = text, *colon = strrchr(text, ':');
	size_t len;

	if (!colon || parse_port(colon + 1, out))
		return -EINVAL;
	len = (size_t)(colon - host);
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return -EINVAL; /* "::1:70": where does the address end? */
	}
	if (!len)
		return -EINVAL;
	out->kind = ADDR_TCP;
	memcpy(out->host, host, len);
	out->host[len] = 0;
	if (strpbrk(out->host, " \t\n[]/"))
		return -EINVAL;
	try_numeric(out);
	return host != text && out->sa.ss_family != AF_INET6 ? -EINVAL : 0;
}

int addr_parse(const char *text, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	if (strnlen(text, ENV_ADDR_MAX) == ENV_ADDR_MAX)
		return -EINVAL;
	if (!strncmp(text, "unix:", 5))
		return parse_unix(text + 5, out);
	if (!strncmp(text, "local:", 6)) {
		if (!text[6])
			return -EINVAL;
		out->kind = ADDR_LOCAL;
		snprintf(out->host, sizeof(out->host), "%s", text + 6);
		return 0;
	}
	return parse_tcp(text, out);
}

void addr_text(const struct sockaddr *sa, char out[ENV_ADDR_MAX])
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	socklen_t len = sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6) {
		snprintf(out, ENV_ADDR_MAX, "unix");
		return;
	}
	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV)) {
		snprintf(out, ENV_ADDR_MAX, "?");
		return;
	}
	snprintf(out, ENV_ADDR_MAX, sa->sa_family == AF_INET6 ? "[%.200s]:%s" : "%.200s:%s", host,
		port);
}
