// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package recording holds what the demonstration measures, and nothing that
// judges it: an [Arm] for each of the two runs, every [Answer] its client got,
// and the [Event] lines that stream to whoever watches.
//
// The scenario writes these where the workload runs (a virtual machine, or this
// one); package report reads them on the host. All instants are nanoseconds of
// CLOCK_BOOTTIME on the machine of the workload, all sizes bytes. The package
// promises that what it writes it reads back unchanged; it refuses to
// interpret. The data's next stop is package report.
package recording
