// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package sources opens what a tick is read from: BPF where this machine and
// this process have it, /proc and cgroupfs for the rest. The ebpf receiver and
// `reflexctl record` open the same, so that a recording holds what the arc would
// have seen.
//
//	sources.go  what is opened, in which order, and what fills a dimension
//	bpf.go      the BPF half, and why it could not be had
//	watch.go    what a slow sampler is woken by
//
// The package promises that opening never fails: what is not there is missing,
// named once with its cause and its remedy; and that a dimension keeps its
// source, and with it the origin that it counts from. It refuses to write to the
// kernel.
//
// The data's next stop is internal/sampler.
package sources
