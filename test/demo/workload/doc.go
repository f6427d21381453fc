// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package workload is the machine room of the demonstration: a service that
// answers requests and can be told to leak ([Service]), and a client that asks
// on a fixed schedule whatever the answers do ([Client]).
//
// A service promises that answering a request allocates nothing but what it is told
// to: its memory is mapped outside the Go heap and the garbage collector is off, so
// that what a limit on its cgroup slows down is the leak, the requests' own memory and
// the sockets, as in a program without a runtime. The client promises to count a late answer from the moment
// the request was due. Neither knows of Reflex, of cgroups, or of the arm it
// runs in. The answers' next stop is package recording.
package workload
