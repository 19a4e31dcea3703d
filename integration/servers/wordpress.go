package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// wordpressConfig has the database, and nothing that looks for the Internet.
const wordpressConfig = `<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', 'genkan');
define('DB_HOST', '%s');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
`

// wordpressDB are the statements that the database of StartWordPress begins with.
const wordpressDB = "create database wordpress;\ncreate user 'wordpress'@'%' identified by 'genkan';\ngrant all on wordpress.* to 'wordpress'@'%';\n"

// A WordPress is Debian's, with its database.
type WordPress struct {
	*Server
	lab *lab.Lab
}

// StartWordPress starts WordPress on the ports of StartPHP, not installed yet:
// the first visitor does that.
func StartWordPress(t testing.TB, l *lab.Lab) *WordPress {
	t.Helper()
	const source = "/usr/share/wordpress"
	require.File(t, filepath.Join(source, "wp-load.php"), "Debian package wordpress")
	StartMariaDB(t, l, wordpressDB)
	dir := folder(t, l, "wordpress", "run")
	htdocs := filepath.Join(dir, "htdocs")
	if out, err := exec.Command("cp", "-a", source, htdocs).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	config := filepath.Join(htdocs, "wp-config.php") // Debian's looks into /etc
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	write(t, config, fmt.Sprintf(wordpressConfig, lab.BackendV4))
	return &WordPress{runPHP(t, l, dir), l}
}

// CommentAddr is the address that it keeps for the comment of an author; empty
// where there is no such comment.
func (w *WordPress) CommentAddr(t testing.TB, author string) string {
	t.Helper()
	program := require.Program(t, "mariadb", "mariadb-client")
	text, err := w.lab.Backend.Output(t.Context(), program, "--no-defaults", "-h", lab.BackendV4.String(), "-uwordpress", "-pgenkan", "-Ne",
		fmt.Sprintf("select comment_author_IP from wp_comments where comment_author = '%s'", author), "wordpress")
	if err != nil {
		t.Fatalf("mariadb: %v\n%s", err, text)
	}
	return strings.TrimSpace(text)
}
