// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package procfs reads the dimensions of a node that BPF could not fill from
// the text files of /proc.
//
// Every file is opened once and read again at each tick into one buffer;
// parsing works on bytes in place. At steady state a reading allocates nothing.
// Every file is optional: one that cannot be read leaves its dimensions alone
// and is listed by [Reader.Missing] with its cause and remedy.
//
// The package promises to touch only the dimensions it was opened for, so that
// a dimension never changes its source, and with it its origin, from one tick
// to the next. It refuses to interpret: counters stay counters.
//
// The data's next stop is the node vector of a sample, in internal/sampler.
package procfs
