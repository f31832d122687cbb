// SPDX-License-Identifier: LGPL-2.1-or-later
/* Fetches the monitor's state from its socket. */
#include "running.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_S = 5 };

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
	return fwrite(data, size, count, ctx) * size;
}

static CURLcode fetch(const char *socket, FILE *out, char error[static CURL_ERROR_SIZE])
{
	CURL *curl = curl_easy_init();
	CURLcode code = curl ? CURLE_OK : CURLE_OUT_OF_MEMORY;

	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	if (code == CURLE_OK) {
		curl_easy_setopt(curl, CURLOPT_URL, "http://localhost/status");
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
		curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
		code = curl_easy_perform(curl);
	}
	curl_easy_cleanup(curl);
	return code;
}

int running_status(const char *socket, json_t **ret_status, char ret_error[static RUNNING_ERROR_MAX])
{
	char error[CURL_ERROR_SIZE] = "", *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	CURLcode code = out ? fetch(socket, out, error) : CURLE_OUT_OF_MEMORY;
	json_t *status = NULL;

	if (out && fclose(out))
		code = CURLE_OUT_OF_MEMORY;
	if (code == CURLE_OK)
		status = json_loadb(text, len, 0, NULL);
	free(text);
	if (code != CURLE_OK || !status) {
		snprintf(ret_error, RUNNING_ERROR_MAX, "no monitor answers at %.100s: %.120s", socket,
			 code == CURLE_OK ? "not its state"
			 : error[0]	  ? error
					  : curl_easy_strerror(code));
		return -ENOTCONN;
	}
	*ret_status = status;
	return 0;
}
