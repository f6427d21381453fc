// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest is what package outage runs in the virtual machine: a test for each
// outage, and the backend that counts.
package guest
