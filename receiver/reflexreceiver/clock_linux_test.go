// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBootTimePlusTheTimeSinceBootIsNow(t *testing.T) {
	var since unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &since))
	assert.WithinDuration(t, time.Now(), bootTime().Add(time.Duration(since.Nano())), time.Second)
}
