// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNamesAreAnsweredUntilTheyAreGone runs on the host as well: an instrument that does
// not work would show an outage that is none, or one that never ends.
func TestNamesAreAnsweredUntilTheyAreGone(t *testing.T) {
	names, err := serveNames("127.0.0.1:0")
	require.NoError(t, err)
	defer names.Close()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", names.conn.LocalAddr().String())
	}}
	look := func() ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return r.LookupHost(ctx, "backend.example.")
	}
	got, err := look()
	require.NoError(t, err)
	assert.Equal(t, []string{"127.0.0.1"}, got)
	names.Gone(true)
	_, err = look()
	require.Error(t, err)
	names.Gone(false)
	_, err = look()
	require.NoError(t, err)
}
