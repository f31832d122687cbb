// SPDX-License-Identifier: LGPL-2.1-or-later
/* Turns tables of a running guest into what its kernel build has, and back. Pure code. */
#include "content.h"

#include "text.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

const char *content_object_name(enum content_object object)
{
	static const char *const names[CONTENT_OBJECTS] = { "gdt", "idt", "syscall",
							    "syscall_ia32" };

	return names[object];
}

unsigned int content_size(enum content_object object, bool long_mode)
{
	return object == CONTENT_IDT ? idt_gate_size(long_mode) : 8;
}

void content_digest(const struct content *content, char ret_digest[static CONTENT_DIGEST_MAX])
{
	unsigned char hash[16];
	crypto_generichash_state state;
	char line[96], value[TEXT_HEX_MAX];

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	for (unsigned int object = 0; object < CONTENT_OBJECTS; object++) {
		int len = snprintf(line, sizeof(line), "%s %d %u\n", content_object_name(object),
				   content->long_mode, content->count[object]);

		crypto_generichash_update(&state, (unsigned char *)line, (size_t)len);
		for (unsigned int i = 0; i < content->count[object]; i++) {
			const struct content_entry *entry = &content->entry[object][i];

			if (!entry->kept)
				continue;
			len = snprintf(line, sizeof(line), "%u %s %d\n", i,
				       text_hex(value, entry->value,
						content_size(object, content->long_mode)),
				       entry->relative);
			crypto_generichash_update(&state, (unsigned char *)line, (size_t)len);
		}
	}
	crypto_generichash_final(&state, hash, sizeof(hash));
	text_bytes(ret_digest, hash, sizeof(hash));
}

unsigned int content_kept(const struct content *content)
{
	unsigned int kept = 0;

	for (unsigned int object = 0; object < CONTENT_OBJECTS; object++)
		for (unsigned int i = 0; i < content->count[object]; i++)
			kept += content->entry[object][i].kept;
	return kept;
}

static bool in_image(const struct ka_kernel *kernel, uint64_t address)
{
	return kernel->symbols && address >= kernel->base && address < kernel->image_end;
}

static unsigned int entry_count(size_t len, size_t size)
{
	return (unsigned int)(len / size < CONTENT_MAX ? len / size : CONTENT_MAX);
}

void content_take_gdt(struct content *content, const struct gdt_layout *layout,
		      const uint8_t *bytes, size_t len)
{
	content->count[CONTENT_GDT] = entry_count(len, 8);
	for (unsigned int i = 0; i < content->count[CONTENT_GDT]; i++) {
		struct content_entry *entry = &content->entry[CONTENT_GDT][i];

		*entry = (struct content_entry){ .kept = gdt_rule(layout, i) == GDT_FIXED };
		if (entry->kept)
			memcpy(entry->value, bytes + 8 * i, 8);
	}
}

void content_take_idt(struct content *content, const struct ka_kernel *kernel, const uint8_t *bytes,
		      size_t len)
{
	unsigned int size = idt_gate_size(content->long_mode);

	content->count[CONTENT_IDT] = entry_count(len, size);
	for (unsigned int i = 0; i < content->count[CONTENT_IDT]; i++) {
		struct content_entry *entry = &content->entry[CONTENT_IDT][i];
		uint64_t handler;

		*entry = (struct content_entry){ .kept = true };
		memcpy(entry->value, bytes + size * i, size);
		handler = idt_gate_handler(content->long_mode, entry->value);
		entry->relative = in_image(kernel, handler);
		if (entry->relative)
			idt_gate_set_handler(content->long_mode, entry->value,
					     handler - kernel->slide);
	}
}

void content_take_syscalls(struct content *content, enum content_object object,
			   const struct ka_kernel *kernel, unsigned int entry_size,
			   const uint8_t *bytes, size_t len)
{
	content->count[object] = entry_count(len, entry_size);
	for (unsigned int i = 0; i < content->count[object]; i++) {
		struct content_entry *entry = &content->entry[object][i];

		*entry = (struct content_entry){ .kept = true };
		memcpy(entry->value, bytes + entry_size * i, entry_size);
		entry->relative = in_image(kernel, entry->value[0]);
		if (entry->relative)
			entry->value[0] -= kernel->slide;
	}
}

void content_apply_gdt(const struct content *content, const struct gdt_layout *layout,
		       uint8_t *bytes, size_t len)
{
	unsigned int count = entry_count(len, 8);

	for (unsigned int i = 0; i < count && i < content->count[CONTENT_GDT]; i++)
		if (content->entry[CONTENT_GDT][i].kept && gdt_rule(layout, i) == GDT_FIXED)
			memcpy(bytes + 8 * i, content->entry[CONTENT_GDT][i].value, 8);
}

void content_apply_idt(const struct content *content, const struct ka_kernel *kernel,
		       uint8_t *bytes, size_t len)
{
	unsigned int size = idt_gate_size(content->long_mode), count = entry_count(len, size);

	for (unsigned int i = 0; i < count && i < content->count[CONTENT_IDT]; i++) {
		const struct content_entry *entry = &content->entry[CONTENT_IDT][i];
		uint64_t value[2] = { entry->value[0], entry->value[1] }, observed[2] = { 0, 0 };

		if (!entry->kept)
			continue;
		if (entry->relative)
			idt_gate_set_handler(content->long_mode, value,
					     idt_gate_handler(content->long_mode, value) +
						     kernel->slide);
		memcpy(observed, bytes + size * i, size);
		if (!idt_gate_may_differ(kernel, content->long_mode, i, value, observed))
			memcpy(bytes + size * i, value, size);
	}
}

void content_apply_syscalls(const struct content *content, enum content_object object,
			    const struct ka_kernel *kernel, unsigned int entry_size, uint8_t *bytes,
			    size_t len)
{
	unsigned int count = entry_count(len, entry_size);

	for (unsigned int i = 0; i < count && i < content->count[object]; i++) {
		const struct content_entry *entry = &content->entry[object][i];
		uint64_t value = entry->value[0];

		if (!entry->kept)
			continue;
		if (entry->relative)
			value += kernel->slide;
		memcpy(bytes + entry_size * i, &value, entry_size);
	}
}
