// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest plays scenarios of the containment suite in the virtual machine
// that it runs in: it starts the workloads, a service that answers and a client
// elsewhere, in another network namespace, that asks it, and Reflex; lets Reflex
// learn the calm; and then plays one scenario after the other, each when the node
// is calm again.
//
// It judges from outside: it reads limit files itself and believes the collector
// only for actions that have no file. What it measures goes out as events; the
// neighbour's answers stay in a file that the host reads.
package guest
