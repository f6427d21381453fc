// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package testmachine lets a test run on another machine than it does: on this
// one, less something. It is for tests only.
//
//	func TestX(t *testing.T) {
//		if !testmachine.Run(t, testmachine.WithoutBTF()) {
//			return // the test has run there
//		}
//		...
//
// Nothing is faked above the kernel: the test's binary is started again, as
// somebody else, or in a mount namespace in which the kernel's type information
// is hidden or tells of another kernel. What the code under test meets then, it
// meets by its own means: no type, a refusal of the verifier, EPERM.
//
// [AddVeth] gives a test a wire to put programs on.
//
// The package promises that this machine stays as it is: what is mounted, is
// mounted for the child alone and goes with it.
package testmachine
