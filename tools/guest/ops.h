/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a user does when asked to: see call() in user.h. Addresses are those of the
 * user's process.
 */
#ifndef OPS_H
#define OPS_H

#include "user.h"

op_t op_open;			/* -> fd */
op_t op_close;			/* fd */
op_t op_create;			/* fd, size, hints -> handle */
op_t op_create_unmappable;	/* fd, size, hints -> handle */
op_t op_destroy;		/* fd, handle */
op_t op_offset;			/* fd, handle -> offset */
op_t op_map;			/* fd, handle, size -> address; asks for the offset first */
op_t op_mmap;			/* fd, size, offset -> address; of a dma-buf, too */
op_t op_unmap;			/* address, size */
op_t op_export;			/* fd, handle -> dma-buf */
op_t op_import;			/* fd, dma-buf -> handle */
op_t op_fill;			/* address, size, seed */
op_t op_differences;		/* address, size, seed -> words; -EFAULT for SIGBUS */
op_t op_host_sees;		/* fd, handle, size, seed -> words */
op_t op_host_writes;		/* fd, handle, size, seed */
op_t op_exec;			/* becomes another program, which does nothing: does not return */
op_t op_write_file;		/* path, text */

/* Many blobs of one size; only one such lot in a process. */
op_t op_create_many;		/* fd, size, hints, number */
op_t op_map_many;		/* fd, size, number, seed: mmap, fill, differences, munmap */
op_t op_destroy_many;		/* fd, number */

/* mmap by so many threads at once, each fills its part and looks at all: words that differ */
op_t op_map_by_threads;		/* fd, handle, size, threads */

/* Creates, maps, uses, unmaps and destroys blobs at random, until an error. */
op_t op_storm;			/* fd, size, seed */

#endif
