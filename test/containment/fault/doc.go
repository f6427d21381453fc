// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package fault is what goes wrong in the containment suite, and what only looks
// like it: one role a program, to be run in a cgroup of its own.
//
// Every role but a sink, and elsewhere, which becomes another one, follows one protocol: it prepares, prints "ready", waits
// for a line on standard input, prints "onset <CLOCK_BOOTTIME in ns>" and begins.
// Each is bounded in time and in what it takes; having done its part it stays,
// idle, until somebody ends it. The roles are for virtual machines: package guest
// starts them there and nothing else does.
package fault
