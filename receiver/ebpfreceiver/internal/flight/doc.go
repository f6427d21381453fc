// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package flight is the flight recorder: it remembers the last ticks, of the node all and
// of the cgroups what tells who moved, so that what led to an anomaly can be delivered
// in full although in calm next to nothing is.
//
// It promises that every tick from some time before an anomaly to some time after it is
// kept until it was accepted, or counted as dropped where there was no room any more, and
// that what it remembers is bounded. It allocates nothing in calm once its memory is
// there, and decides nothing: whoever adds a tick says whether there is an anomaly.
//
// Its data's next stop are the metrics of the ebpf receiver.
package flight
