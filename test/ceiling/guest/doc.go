// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest plays the arms of the comparison in the machine that it runs in: it
// starts the services, a client that asks them, and Reflex; lets a calm pass, has one
// service after the other leak, and watches limits, use and death from outside.
//
// Reflex sees, by its cgroup_root, only the services that it is to hold: the walls
// stand in a cgroup beside that. The package judges nothing: its recording's next stop
// is package ceiling.
package guest
