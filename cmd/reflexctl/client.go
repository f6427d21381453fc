// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/words"
)

const (
	defaultEndpoint = "http://127.0.0.1:13134"
	answerWithin    = 10 * time.Second
	// maxAnswer bounds what is read of an answer: whoever listens at the
	// endpoint need not be Reflex.
	maxAnswer = 64 << 20
)

// client asks the status API of the reflex extension, over TCP or, where its
// endpoint begins with unix:, on the operators' socket.
type client struct{ endpoint string }

func endpointFlag(c *cobra.Command) *client {
	cl := &client{}
	c.Flags().StringVar(&cl.endpoint, "endpoint", defaultEndpoint, "status::endpoint of the reflex extension, as a URL")
	return cl
}

// refused is an answer other than 200.
type refused struct {
	code         int
	asked, cause string
}

// Whoever answers need not be Reflex: nothing of it steers the terminal.
func (r *refused) Error() string { return words.Printable(r.asked + ": " + r.cause) }

// get reads the JSON at path into v.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, v)
}

// post sends body as JSON and reads the answer into v.
func (c *client) post(ctx context.Context, path string, body, v any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	return c.call(ctx, http.MethodPost, path, nil, text, v)
}

func (c *client) call(ctx context.Context, method, path string, query url.Values, body []byte, v any) error {
	over, base, err := c.transport()
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	target := base.JoinPath(path)
	target.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	answer, err := over.Do(request)
	if err != nil {
		return fmt.Errorf("ask the reflex extension (is the collector running, and is this its %s?): %w", c.key(), err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read %s: %w", target, err)
	}
	if answer.StatusCode != http.StatusOK {
		return &refused{
			answer.StatusCode, fmt.Sprintf("%s %s: %s", strings.ToLower(method), target, answer.Status),
			strings.TrimSpace(string(text[:min(len(text), 200)])),
		}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read the answer of %s, which is perhaps not Reflex: %w", target, err)
	}
	return nil
}

// key is the extension's key for the endpoint.
func (c *client) key() string {
	if strings.HasPrefix(c.endpoint, "unix:") {
		return "operator::socket"
	}
	return "status::endpoint"
}

// transport returns how to reach the endpoint.
func (c *client) transport() (*http.Client, *url.URL, error) {
	if socket, local := strings.CutPrefix(c.endpoint, "unix:"); local {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
		return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, &url.URL{Scheme: "http", Host: "localhost"}, nil
	}
	endpoint := c.endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	base, err := url.Parse(endpoint)
	return http.DefaultClient, base, err
}
