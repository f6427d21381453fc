// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package ceiling compares the moving ceiling of Reflex with a memory.high that stays
// where it was put, and with no limit but memory.max: the same service, the same
// requests, the same leak, in a thread of its own and in each request.
//
// It promises that a wall stands where the ceiling beside it began, in the same
// machine at the same time, and that answers are what their client received
// ([Analyse]). It knows the plan ([Arms]), what a machine brings back ([Recording])
// and what came of it ([Report]); package guest plays the plan in a virtual machine,
// package host boots it.
package ceiling
