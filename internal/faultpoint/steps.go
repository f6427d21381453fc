// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package faultpoint

// Guard lists the steps of a lease: what is between two of them is one call on
// the kernel, or nothing that matters. Restoring what a former guard left passes
// knob, knob written, remove and removed.
var Guard = []string{
	"record",         // before the record is written
	"record written", // and after
	"look",           // before the knob is compared with what it should be
	"knob",           // before the knob is written
	"knob written",   // and after
	"remove",         // before the record is removed
	"removed",        // and after
	"loss",           // before a lost lease is counted on the cgroup
}

// Start lists the steps of a guard that starts.
var Start = []string{
	"started",  // before it looks for what a former guard left
	"restored", // and after
}

// Collector lists the steps of whoever gives orders over the socket.
var Collector = []string{
	"order",  // before an order is sent
	"answer", // after its answer came
}
