// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package sampler takes the ticks: it waits for the next instant of the grid,
// has the sources fill a sample, takes the sample through the arc, and leaves it
// for delivery.
//
// The grid is absolute (multiples of the interval on CLOCK_BOOTTIME), so that a
// late tick does not move those after it. Ticks that fall due while an earlier
// one is being taken, or while the machine sleeps, are skipped and counted in the
// next sample. Setting the time of day moves no tick.
//
// A sampler whose interval is longer than [WakeInterval] may be given a
// [Watcher]. It then looks every WakeInterval whether something has begun, takes
// a tick at once if so, and is as fast as that for a while. Its own interval
// stays the period of decisions and of deliveries ([arc.Sample]'s Period).
//
// Samples rotate between three places: one is being filled, one waits for
// delivery or is spare, one is being delivered. Leaving a sample for delivery is
// a swap of pointers under a mutex that nobody holds for longer than that; the
// newest sample replaces one that still waits.
//
// The package promises that [Sampler.Tick] allocates nothing at steady state and
// waits for nobody but its sources and the arc. It refuses to log or to know
// about metrics.
//
// The data's next stop is [arc.Meeting] on the arc, and the delivery goroutine
// of the ebpf receiver through [Handover].
package sampler
