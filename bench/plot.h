/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures as one SVG, drawn by gnuplot: the latencies of every row as curves over their
 * percentiles, cost against size, against the number of clients and of live objects; each
 * only if it was measured. Points are medians of the rounds.
 */
#ifndef TARN_BENCH_PLOT_H
#define TARN_BENCH_PLOT_H

/* Before the measuring: ends the program if @file cannot be written; says so if there
 * is no gnuplot. */
void plot_prepare(const char *file);
void plot_draw(const char *file);

#endif
