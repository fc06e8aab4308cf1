/*
 * python/stream/cut.c - whole packets off the front of the bytes that came, without a framer's
 * frames.
 *
 * Only what needs no memory of earlier bytes: the length of the packet that begins here, if it is
 * whole and allowed. All else (the beginning of a packet, a refusal, a rule that is a function) is
 * the framer's, which sees it as it would have without this file.
 *
 * Contract  docs/contracts/framing.md, as ipckit.framing has it; they agree on every stream.
 * Stands on stream.h.
 */
#include "python/stream/stream.h"

#include <string.h>

/* kind, most, eof, field_offset, field_size, body_offset, is_big, is_signed */
#define RULE_FORMAT "iny#nnnpp"

int
rule_from(PyObject *object, struct rule *rule)
{
	const char *eof;
	Py_ssize_t width;
	int is_big;
	int is_signed;

	memset(rule, 0, sizeof *rule);
	if (object == Py_None)
		return 0;
	if (!PyTuple_Check(object)) {
		PyErr_SetString(PyExc_TypeError, "a rule is a tuple of ipckit.framing.Rule, or None");
		return -1;
	}
	if (!PyArg_ParseTuple(object, RULE_FORMAT, &rule->kind, &rule->most, &eof, &width,
			      &rule->field_offset, &rule->field_size, &rule->body_offset, &is_big,
			      &is_signed))
		return -1;
	if (rule->kind < NO_RULE || rule->kind > BY_LENGTH || width > MOST_EOF ||
	    (rule->kind == BY_LENGTH ? rule->field_size < 1 || rule->field_size > 8 : width < 1)) {
		PyErr_SetString(PyExc_SystemError, "a rule that ipckit.framing cannot have made");
		return -1;
	}
	memcpy(rule->eof, eof, (size_t)width);
	rule->width = width;
	rule->is_big = (char)is_big;
	rule->is_signed = (char)is_signed;
	return 0;
}

static Py_ssize_t
by_eof(const struct rule *rule, const char *bytes, Py_ssize_t size)
{
	/* The mark must end within `most`, so a longer packet is not even searched through. */
	size_t within = (size_t)(size < rule->most ? size : rule->most);
	const char *mark = memmem(bytes, within, rule->eof, (size_t)rule->width);

	return mark ? mark - bytes + rule->width : 0;
}

static Py_ssize_t
by_tail(const struct rule *rule, const char *bytes, Py_ssize_t size)
{
	if (size > rule->most || size < rule->width ||
	    memcmp(bytes + size - rule->width, rule->eof, (size_t)rule->width) != 0)
		return 0;
	return size;
}

static Py_ssize_t
by_length(const struct rule *rule, const char *bytes, Py_ssize_t size)
{
	const unsigned char *field = (const unsigned char *)bytes + rule->field_offset;
	Py_ssize_t head = rule->field_offset + rule->field_size;
	uint64_t length = 0;
	Py_ssize_t total;
	uint64_t top;

	if (size < head)
		return 0;
	for (Py_ssize_t i = 0; i < rule->field_size; i++)
		length = length << 8 | field[rule->is_big ? i : rule->field_size - 1 - i];
	top = UINT64_C(1) << (8 * rule->field_size - 1);
	if (rule->is_signed && (length & top))
		return 0; /* negative */
	if (length > (uint64_t)rule->most)
		return 0;
	total = (Py_ssize_t)length + rule->body_offset;
	return head <= total && total <= rule->most && total <= size ? total : 0;
}

Py_ssize_t
whole_packet(const struct rule *rule, const char *bytes, Py_ssize_t size)
{
	switch (rule->kind) {
	case BY_EOF:
		return by_eof(rule, bytes, size);
	case BY_TAIL:
		return by_tail(rule, bytes, size);
	case BY_LENGTH:
		return by_length(rule, bytes, size);
	default:
		return 0;
	}
}
