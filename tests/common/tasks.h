/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks that tests give to the workers of pools and runners; and one that begins when it is told, and ends
 * when it is let go, by files in plain_dir().
 *
 *	square(q)         q, or ValueError of what is below 0
 *	add(q, q)         q
 *	begin_and_wait(s, s)  its pid: writes that into the first file, and waits for the second
 *	die_once(s)       "done": killed by SIGKILL the first time, which it knows by the file
 */
#ifndef TARN_TESTS_COMMON_TASKS_H
#define TARN_TESTS_COMMON_TASKS_H

#include "scene.h"
#include "tarn/pool.h"

/* The path of a file; and whether it is there. */
void task_path(char text[200], const char *what, int number);
bool task_file_is_there(const char *path);

/* begin_and_wait by number: its arguments, which the caller ends; as a task of @pool; has it begun? as
 * which process (waits for it)? and it may end. */
void task_args(tarn_builder *ret, int number);
tarn_pool_result *task_begin(tarn_pool *pool, int number);
bool task_begun(int number);
int task_pid(int number);
void task_go(int number);

/* Numbers from 0 to @n - 1 as a list. */
void task_numbers(tarn_parcel *ret, int n);

#endif
