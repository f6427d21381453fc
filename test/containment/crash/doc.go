// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package crash kills the guard, the collector and the supervisor at every step
// at which they can be stopped, and at others, and looks from outside whether
// every knob comes back in time.
//
// It promises that whoever judges is none of the judged: the knobs are polled
// every few milliseconds by the program that kills, which asks Reflex nothing. The
// guard is the real one, built with the tag faultpoints; the collector is a
// process that gives orders over the socket through the same client. The package
// refuses to judge where it was itself kept from looking: such a case is repeated
// and counted as disturbed.
//
// The data's next stop is crash.json, a [Report].
package crash
