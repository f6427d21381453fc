// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package recorder takes ticks of this machine into a recording: the sampler of
// the ebpf receiver, in the place of the arc a bounded queue, and behind it a
// goroutine that names cgroups, compresses and writes.
//
//	run.go    from the sources to the end of the recording, and what ends it
//	queue.go  between the sampling goroutine and the writing one
//	names.go  the paths of cgroups, each looked up once
//
// The package promises that writing never delays a tick: what the queue has no
// room for is lost, and shows as a gap in the sequence. It refuses to judge, to
// act, and to open files.
//
// The data's next stop is internal/recording.
package recorder
