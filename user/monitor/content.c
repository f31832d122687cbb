// SPDX-License-Identifier: LGPL-2.1-or-later
/* Turns tables of a running guest into what its kernel build has, and back. Pure code. */
#include "content.h"

#include "text.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { IMAGE_MAX_32 = 512 << 20 };

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
		/* The accessed bit is not part of what a kernel build has. */
		gdt_settle(gdt_layout(content->long_mode, 0), (uint8_t *)entry->value, 8);
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

/* Gates that the image does not tell are not kept. */
static void take_reference_idt(struct content *content, const struct ka_reference *reference,
			       const struct ka_kernel *kernel)
{
	unsigned int size = idt_gate_size(content->long_mode);
	uint8_t bytes[KA_IDT_MAX * 16] = { 0 };
	bool known[KA_IDT_MAX], any = false;
	struct ka_gate gate;

	for (unsigned int i = 0; i < KA_IDT_MAX; i++) {
		known[i] = !ka_reference_gate(reference, i, &gate) &&
			   !ka_gate_encode(&gate, bytes + i * size, size);
		any |= known[i];
	}
	if (!any)
		return;
	content_take_idt(content, kernel, bytes, KA_IDT_MAX * size);
	for (unsigned int i = 0; i < KA_IDT_MAX; i++)
		content->entry[CONTENT_IDT][i].kept = known[i];
}

void content_take_reference(struct content *content, const struct ka_reference *reference)
{
	static const enum content_object tables[] = {
		[KA_SYSCALL_NATIVE] = CONTENT_SYSCALL,
		[KA_SYSCALL_IA32] = CONTENT_SYSCALL_IA32,
	};
	struct ka_kernel kernel = { .symbols = ka_reference_symbols(reference) };
	uint64_t handlers[KA_SYSCALLS_MAX];
	const uint8_t *gdt;
	size_t count;

	content->long_mode = ka_symbols_64bit(kernel.symbols);
	text_clean(content->release, sizeof(content->release), ka_reference_release(reference));
	strcpy(content->trust, "reference");
	ka_symbols_find(kernel.symbols, "_text", &kernel.base);
	/* 32-bit kernels do not name their end; nothing else lies within that far. */
	if (ka_symbols_find(kernel.symbols, "_end", &kernel.image_end))
		kernel.image_end = kernel.base + IMAGE_MAX_32;
	if (!ka_reference_gdt(reference, &gdt, &count))
		content_take_gdt(content, gdt_layout(content->long_mode, (uint32_t)count - 1), gdt,
				 count);
	take_reference_idt(content, reference, &kernel);
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		if (!ka_reference_syscalls(reference, t, handlers, KA_SYSCALLS_MAX, &count))
			content_take_syscalls(content, tables[t], &kernel, 8,
					      (const uint8_t *)handlers, count * 8);
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
