// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook tells episodes to HTTP servers: to an Alertmanager by its v2 API, or
// to anything else as signed JSON. It follows the journal like any other reader, in a
// goroutine of its own, and nobody waits for it.
//
// It promises to send nothing to where a node's own credentials are handed out: targets
// on link-local and cloud-metadata addresses are refused when a connection is made,
// whatever name led there, unless allowed. It follows no redirect and no proxy. It does
// not promise delivery: a server that fails for too long misses what was to be told it,
// and that is counted. Its data's next stop is that server.
package webhook
