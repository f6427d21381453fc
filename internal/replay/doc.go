// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay runs the engine over a recording: the judgements that a
// collector would have made, one row of text a sample.
//
// A [Table] reads a recording as CSV, row by row and without allocating; a
// [Layout] says which of its columns is the time, which the label, and which
// are dimensions; [ReadColumns] holds a whole table in memory for those who
// want it so. What `reflexctl record` wrote is read tick by tick, as the arc saw
// it; [Dump] writes it as CSV. A [Replay] steps one detector a stream through the
// recording, writes rows, and returns a [Summary]; a Plot is a page that shows it.
//
// The package promises a row of output for every sample of input, in order, so
// that both can be laid side by side, and the same output for the same input.
// It refuses to guess: a table that is ragged, has no header or names a column
// twice is an error that says where. What is missing is missing, not zero, and
// is counted.
package replay
