/* SPDX-License-Identifier: Apache-2.0 */
/* Questions that several programs answer. Peers name their rows so; Tarn's rows and those of the
 * limits are found by compare.c. */
#ifndef TARN_BENCH_TOPICS_H
#define TARN_BENCH_TOPICS_H

#define TOPIC_ALLOC "allocate and release " /* and the size: "64 B" */
#define TOPIC_TRIP_SPIN "64 B there and back, spinning"
#define TOPIC_TRIP_TWO "64 B there and back, asleep, two CPUs"
#define TOPIC_TRIP_ONE "64 B there and back, asleep, one CPU"
/* The other side is surely asleep when the message is sent. */
#define TOPIC_REST_TWO "64 B there and back after a rest, two CPUs"
#define TOPIC_REST_ONE "64 B there and back after a rest, one CPU"
#define TOPIC_CALL_SPIN "call, spinning"
#define TOPIC_CALL_TWO "call, asleep, two CPUs"
#define TOPIC_CALL_ONE "call, asleep, one CPU"
#define TOPIC_CALL_REST_TWO "call after a rest, two CPUs"
#define TOPIC_CALL_REST_ONE "call after a rest, one CPU"
#define TOPIC_CREATE "create and delete an object"
#define TOPIC_BYTE "1 MiB there and back, a byte read"
#define TOPIC_ALL "1 MiB there and back, all read"
#define TOPIC_TOUCH "first touch of 1 MiB"

#endif
