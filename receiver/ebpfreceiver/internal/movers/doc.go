// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package movers picks, from one sweep to the next, the cgroups whose state
// moved most: half of them by the change of their memory usage, half by the
// growth of CPU and stall time.
//
// It promises at most the number asked for, in the order of the sweep, and no
// cgroup that did not move. It is a biased sample by design and refuses to be
// anything else: baselines are learned from full sweeps.
//
// The data's next stop are the metrics of the ebpf receiver.
package movers
