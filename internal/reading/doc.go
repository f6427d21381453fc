// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package reading reads the raw vector of a resource from OTLP metrics.
//
// A [Vocabulary], chosen by preset or dimension by dimension, says which metrics
// matter. A [Stream] remembers of one resource what it takes to read its counters: a
// cumulative sum that starts again, by its start timestamp or by growing smaller, and
// a delta sum that points are missing from make a coordinate missing and never wrong.
// A [Reader] finds the resources in a batch and hands out one [Vector] for each
// time they were measured. The mahalanobis processor and `reflexctl replay` read with
// this package, so that a replay sees what the processor saw.
//
// The package promises that what it reads is left as it was, and that nothing of it
// is kept but a few numbers a dimension. It refuses histograms, summaries, clocks and
// I/O, and it bounds nothing: how many streams there are is the caller's, who is
// asked to open each. A vector's next stop is internal/detect.
package reading
