// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !faultpoints

package faultpoint

// Pass does nothing in this build.
func Pass(string) {}
