// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf top: the running kvmbpf-monitor, live. */
#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "../monitor/clock.h"
#include "../monitor/status.h"
#include "../monitor/text.h"
#include "cli.h"
#include "running.h"

enum { OPTION_SOCKET = 0x700, REFRESH_MS = 1000, LINE_MAX_CHARS = 512 };

struct top {
	const char *socket;
	json_t *now, *before; /* states; NULL: none yet */
	char error[RUNNING_ERROR_MAX];
	size_t selected;
	int row; /* that is drawn next */
};

/* ---- pieces of the state ------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static double seconds_of(const json_t *status)
{
	return strtod(text_of(status, "mono_ns"), NULL) / (double)NS_PER_S;
}

/* "3s", "12m", "5h"; "-" where it never was. */
static const char *age_text(char buf[static 16], const json_t *status, const char *time)
{
	uint64_t now = 0, then = 0;
	unsigned long long s;

	if (text_time_parse(text_of(status, "time"), &now) < 0 || text_time_parse(time, &then) < 0)
		return "-";
	s = now > then ? (now - then) / NS_PER_S : 0;
	if (s < 120)
		snprintf(buf, 16, "%llus", s);
	else if (s < 2 * 3600)
		snprintf(buf, 16, "%llum", s / 60);
	else
		snprintf(buf, 16, "%lluh", s / 3600 < 9999 ? s / 3600 : 9999);
	return buf;
}

static size_t vms_seen(const json_t *vms, const char *how)
{
	const json_t *vm;
	size_t i, count = 0;

	json_array_foreach(vms, i, vm)
		count += !strcmp(text_of(vm, "seen"), how);
	return count;
}

static long long findings_open(const json_t *vms)
{
	const json_t *vm;
	long long count = 0;
	size_t i;

	json_array_foreach(vms, i, vm)
		count += number_of(vm, "open_findings");
	return count;
}

/* ---- drawing ------------------------------------------------------------------------------- */

/* One line, cut at the right edge. Names are others' words: nothing in them steers the terminal. */
__attribute__((format(printf, 3, 4)))
static void line(struct top *top, attr_t attributes, const char *format, ...)
{
	char text[LINE_MAX_CHARS];
	wchar_t wide[LINE_MAX_CHARS];
	int columns = 0, count = 0;
	va_list args;

	if (top->row >= LINES)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (mbstowcs(wide, text, LINE_MAX_CHARS) == (size_t)-1)
		for (count = 0; count == 0 || wide[count - 1]; count++)
			wide[count] = (wchar_t)(text[count] & 0x80 ? '?' : text[count]);
	wide[LINE_MAX_CHARS - 1] = L'\0';
	for (count = 0; wide[count]; count++) {
		if (!iswprint((wint_t)wide[count]))
			wide[count] = L'?';
		columns += wcwidth(wide[count]) > 0 ? wcwidth(wide[count]) : 0;
		if (columns > COLS)
			break;
	}
	attrset(attributes);
	move(top->row, 0);
	addnwstr(wide, count);
	/* To the edge, so that a heading is one bar. */
	while (attributes & A_REVERSE && columns++ < COLS)
		addch(' ');
	attrset(A_NORMAL);
	top->row++;
}

static attr_t severity_attributes(const char *severity)
{
	bool grave = !strcmp(severity, "critical") || !strcmp(severity, "high");

	return !grave ? A_NORMAL : has_colors() ? COLOR_PAIR(1) | A_BOLD : A_BOLD;
}

/* What watching costs, since the state before. */
static void draw_cost(struct top *top)
{
	const json_t *process = json_object_get(top->now, "process");
	const json_t *cycles = json_object_get(top->now, "cycles"), *before;
	double seconds = top->before ? seconds_of(top->now) - seconds_of(top->before) : 0, cpu = 0,
	       looks = 0;

	if (seconds > 0) {
		before = json_object_get(top->before, "process");
		cpu = (double)(number_of(process, "cpu_us") - number_of(before, "cpu_us")) / 1e4 /
		      seconds;
		before = json_object_get(top->before, "cycles");
		looks = (double)(number_of(cycles, "done") - number_of(before, "done")) / seconds;
	}
	line(top, A_NORMAL, "Cost: CPU %.2f %%, memory %lld MiB, looks %.1f/s, late %lld, missed %lld", cpu,
	     number_of(process, "resident_bytes") >> 20, looks, number_of(cycles, "late"),
	     number_of(cycles, "missed"));
}

static void draw_sinks(struct top *top)
{
	const json_t *sinks = json_object_get(top->now, "sinks"), *sink;
	char text[LINE_MAX_CHARS] = "Sinks:";
	size_t i, len = strlen(text);

	json_array_foreach(sinks, i, sink)
		if (len < sizeof(text) - 100)
			len += (size_t)snprintf(text + len, 100, " %.40s %.10s, %lld wait%s", text_of(sink, "name"),
						text_of(sink, "state"), number_of(sink, "queued"),
						i + 1 < json_array_size(sinks) ? ";" : "");
	line(top, A_NORMAL, "%s", text);
}

static void draw_head(struct top *top)
{
	const json_t *vms = json_object_get(top->now, "vms");
	long long open = findings_open(vms);

	line(top, A_BOLD, "kvmbpf-monitor %s on %s, %.19sZ, interval %lld ms", text_of(top->now, "version"),
	     text_of(top->now, "host"), text_of(top->now, "time"), number_of(top->now, "interval_ms"));
	line(top, open ? A_BOLD : A_NORMAL,
	     "VMs: %zu, checks seen: all of %zu, some of %zu, none of %zu. Open findings: %lld",
	     json_array_size(vms), vms_seen(vms, "all"), vms_seen(vms, "some"), vms_seen(vms, "none"),
	     open);
	draw_cost(top);
	draw_sinks(top);
	if (top->error[0])
		line(top, A_BOLD, "%s", top->error);
}

/* As many as fit into `rows`, the selected one among them. */
static void draw_vms(struct top *top, int rows)
{
	const json_t *vms = json_object_get(top->now, "vms"), *vm;
	size_t count = json_array_size(vms), from;
	char age[16];

	line(top, A_REVERSE, "  %-24s %8s %5s %-5s %8s %8s %6s", "VM", "PID", "VCPUS", "SEEN",
	     "FINDINGS", "LOOK/us", "AGE");
	top->selected = top->selected < count ? top->selected : count ? count - 1 : 0;
	from = top->selected < (size_t)rows ? 0 : top->selected - (size_t)rows + 1;
	for (size_t i = from; i < count && i < from + (size_t)rows; i++) {
		vm = json_array_get(vms, i);
		line(top, number_of(vm, "open_findings") ? A_BOLD : A_NORMAL,
		     "%c %-24.24s %8lld %5zu %-5s %8lld %8lld %6s", i == top->selected ? '>' : ' ',
		     text_of(vm, "name"), number_of(vm, "pid"),
		     json_array_size(json_object_get(vm, "vcpus")), text_of(vm, "seen"),
		     number_of(vm, "open_findings"), number_of(vm, "look_us"),
		     age_text(age, top->now, text_of(vm, "last_look")));
	}
}

static void draw_check(struct top *top, const char *vcpu, const json_t *check)
{
	char age[16];
	const char *seen = text_of(check, "seen");

	line(top, A_NORMAL, "  %-17s %-4s %-12s %4s %9s  %s", text_of(check, "check"), vcpu,
	     text_of(check, "state"),
	     age_text(age, top->now, seen[0] ? seen : text_of(check, "since")),
	     text_of(check, "writes"), text_of(check, "reason"));
}

static void draw_checks(struct top *top, const json_t *vm, int last_row)
{
	const json_t *vcpus = json_object_get(vm, "vcpus"), *vcpu, *check;
	char id[16];
	size_t i, j;

	line(top, A_REVERSE, "  %-17s %-4s %-12s %4s %9s  %s", "CHECK", "VCPU", "STATE", "AGE",
	     "WRITES", "REASON");
	json_array_foreach(json_object_get(vm, "checks"), i, check)
		if (top->row < last_row)
			draw_check(top, "all", check);
	json_array_foreach(vcpus, i, vcpu) {
		snprintf(id, sizeof(id), "%lld", number_of(vcpu, "id"));
		json_array_foreach(json_object_get(vcpu, "checks"), j, check)
			if (top->row < last_row)
				draw_check(top, id, check);
	}
}

static void draw_findings(struct top *top, const json_t *vm)
{
	const json_t *finding;
	char age[16];
	size_t i;

	line(top, A_REVERSE, "  %-8s %4s %-17s %s", "SEVERITY", "AGE", "CHECK", "FINDING");
	json_array_foreach(json_object_get(vm, "findings"), i, finding)
		line(top, severity_attributes(text_of(finding, "severity")), "  %-8s %4s %-17s %s",
		     text_of(finding, "severity"),
		     age_text(age, top->now, text_of(finding, "first_seen")),
		     text_of(finding, "check"), text_of(finding, "object"));
	if (!json_array_size(json_object_get(vm, "findings")))
		line(top, A_NORMAL, "  none");
}

static void draw(struct top *top)
{
	const json_t *vm;
	int rows;

	erase();
	top->row = 0;
	if (!top->now) {
		line(top, A_BOLD, "%s", top->error);
		line(top, A_NORMAL, "Trying again. q: quit");
		refresh();
		return;
	}
	draw_head(top);
	/* A quarter for VMs, what is left in halves for the checks and findings of the selected one. */
	rows = (int)json_array_size(json_object_get(top->now, "vms"));
	rows = rows < LINES / 4 ? rows : LINES / 4 > 1 ? LINES / 4 : 1;
	draw_vms(top, rows);
	vm = json_array_get(json_object_get(top->now, "vms"), top->selected);
	if (vm) {
		rows = LINES - 1 - top->row;
		draw_checks(top, vm, top->row + 1 + rows / 2);
		draw_findings(top, vm);
	}
	if (LINES > 1) {
		top->row = LINES - 1;
		clrtoeol();
		line(top, A_NORMAL, "up, down: VM   q: quit");
	}
	refresh();
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void fetch(struct top *top)
{
	json_t *status;

	if (running_status(top->socket, &status, top->error) < 0)
		return;
	top->error[0] = '\0';
	json_decref(top->before);
	top->before = top->now;
	top->now = status;
}

/* False: quit. */
static bool key_take(struct top *top, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case KEY_UP:
	case 'k':
		top->selected -= top->selected > 0;
		return true;
	case KEY_DOWN:
	case 'j':
		top->selected++; /* held within the list as it is drawn */
		return true;
	default:
		return true;
	}
}

static void run(struct top *top)
{
	uint64_t next = 0, now;
	bool going = true;

	while (going) {
		now = clock_mono();
		if (now >= next) {
			fetch(top);
			next = clock_mono() + REFRESH_MS * (uint64_t)NS_PER_MS;
		}
		draw(top);
		now = clock_mono();
		timeout(next > now ? (int)((next - now) / NS_PER_MS) + 1 : 0);
		going = key_take(top, getch());
	}
}

static error_t top_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	if (key != OPTION_SOCKET)
		return ARGP_ERR_UNKNOWN;
	((struct top *)cli->options)->socket = arg;
	return 0;
}

static const struct argp top_argp = {
	.options = (const struct argp_option[]){
		{"socket", OPTION_SOCKET, "PATH", 0,
		 "Where the monitor listens (default " STATUS_SOCKET ")", 0}, {0}},
	.parser = top_parser,
	.doc = "Shows the running kvmbpf-monitor, once a second: its VMs, the checks and open findings "
	       "of one of them, and what watching costs. Arrows choose the VM, q quits.",
};

int cmd_top(struct cli *cli, int argc, char **argv)
{
	struct top top = {.socket = STATUS_SOCKET};
	SCREEN *screen;
	int code;

	cli->options = &top;
	code = cli_parse(cli, &top_argp, argc, argv, 0, 0);
	if (code)
		return code;
	if (cli->json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return cli_fail(cli, CLI_USAGE, "top needs a terminal; 'kvmbpf -j status' is for programs");
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return cli_fail(cli, CLI_RUNTIME, "the terminal '%s' is not known",
				getenv("TERM") ? getenv("TERM") : "");
	if (has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	run(&top);
	endwin();
	delscreen(screen);
	json_decref(top.now);
	json_decref(top.before);
	return CLI_OK;
}
