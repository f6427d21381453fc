// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package ebpfreceiver samples the kernel's own view of a node and of every
// cgroup on it, on an absolute grid of ticks, and takes each tick down two
// roads.
//
// The first road is the arc: the sampling goroutine hands the tick to the
// meeting point of the arc ([arc.Meeting], the reflex extension) and returns
// when the arc has decided. The second is an ordinary metrics pipeline: the
// newest tick is left for a delivery goroutine, which writes it as OTLP metrics.
//
// The package promises that nothing on the second road delays the first: a
// consumer that blocks or never answers costs metrics, counted as replaced, and
// not a single tick. It promises that a tick at steady state allocates nothing,
// that a missed tick is counted and never queued, that a value which could not
// be read is absent and not zero, and that it starts wherever it runs: what the
// kernel or the privilege lacks is absent, and named with its remedy once.
//
// It refuses to judge, to act, and to write to the kernel.
//
// The data's next stop is the engine of processor/mahalanobisprocessor, which
// meets the tick through extension/reflexextension on the first road and in
// ConsumeMetrics on the second.
package ebpfreceiver
