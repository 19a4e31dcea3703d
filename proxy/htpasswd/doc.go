// Package htpasswd checks names and passwords against a file as Apache's
// htpasswd writes it.
//
//	users, err := htpasswd.Parse(src)      // "joe:$2y$10$…", one a line
//	ok := users.Check("joe", "secret")     // takes as long for who is not there
//	line, err := htpasswd.Hash("secret")   // what htpasswd -B writes
//
// bcrypt is what should be there; apr1, Apache's MD5 of old, is read as well,
// as nobody can turn one into the other without the passwords.
package htpasswd
