// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest is what package backends runs in the virtual machine.
package guest
