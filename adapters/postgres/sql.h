#pragma once
/* The files of sql/, embedded at build time and sorted by name: {"queries/outbox_rows", "<text>"}. */
struct sql_file {
    const char *name;
    const char *text;
};

extern const struct sql_file sql_files[];
extern const unsigned sql_file_count;

/* The text of one file; asking for one that does not exist is a bug and ends the process. */
const char *sql_text(const char *name);
