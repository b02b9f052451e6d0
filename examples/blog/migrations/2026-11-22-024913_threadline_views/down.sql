-- Takes saved views away; the trail itself stays.
DROP TABLE threadline.saved_views;
