// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatTheNetworkDid(t *testing.T) {
	var before, after traffic
	before.parse(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    9     900    0    0    0     0          0         0     9     900    0    0    0     0       0          0
reflex0:   1     100    0    1    0     0          0         0     1     200    0    2    0     0       0          0
`, "Tcp: RtoAlgorithm RetransSegs InErrs\nTcp: 1 5 0\n", "cpu  1 2 3 4 5 6 150 8 9 10\ncpu0 1 2 3 4 5 6 70 8 9 10\n")
	assert.Equal(t, traffic{received: 100, sent: 200, droppedIn: 1, droppedOut: 2, resent: 5, softIRQ: 1.5}, before)
	after = before
	after.at, after.received, after.sent, after.resent, after.softIRQ = 2e9, 20_100, 300, 15, 2.5
	assert.Equal(t, "10000 packets/s in (0 dropped), 50 out (0 dropped), 5.0 segments/s again, 0.50 CPUs in softirq", after.since(&before))
}
