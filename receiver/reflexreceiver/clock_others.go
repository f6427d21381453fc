// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package reflexreceiver

import "time"

// bootTime returns the zero time: there is no CLOCK_BOOTTIME.
func bootTime() time.Time { return time.Time{} }
