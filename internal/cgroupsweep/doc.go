// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package cgroupsweep sweeps all cgroups by reading the files of cgroup v2, for
// machines on which the BPF iterator is not to be had.
//
// It is the expensive road (more than ten times that of the iterator), and spends
// its reads where they matter: memory.current of every cgroup ten times a
// second, the other columns of every cgroup once a second, spread evenly; the
// kernel itself refreshes those only every two seconds. The tree is
// walked again once a second, less often where walking it is slow. It fills the
// columns that the iterator fills; the others are package cgroupstat's.
//
// The package promises that descriptors and memory are bounded, and that a row's
// values belong to the row's id: files are opened once and stay with their
// cgroup, whatever is created at its path later. It refuses to guess: a file
// that cannot be read is an absent value.
//
// The data's next stop is the sweep of a sample, in internal/sampler.
package cgroupsweep
